package ai.onnxruntime;

public class OrtEnvironment {
    public static OrtEnvironment getEnvironment() {
        return null;
    }

    public OrtSession createSession(byte[] model, OrtSession.SessionOptions options) throws OrtException {
        return null;
    }
}
