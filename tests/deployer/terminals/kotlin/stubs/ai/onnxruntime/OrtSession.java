package ai.onnxruntime;

import java.util.Map;
import java.util.Optional;
import java.util.Set;

public class OrtSession implements AutoCloseable {
    public static class SessionOptions implements AutoCloseable {
        public void close() {}
    }

    public static class Result implements AutoCloseable {
        public Optional<OnnxValue> get(String name) {
            return null;
        }

        public OnnxValue get(int place) {
            return null;
        }

        public void close() {}
    }

    public Result run(Map<String, ? extends OnnxTensorLike> inputs, Set<String> outputs) throws OrtException {
        return null;
    }

    public void close() throws OrtException {}
}
