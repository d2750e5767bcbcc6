package ai.onnxruntime;

public class TensorInfo {
    public final OnnxJavaType type = OnnxJavaType.FLOAT;

    public long[] getShape() {
        return null;
    }
}
