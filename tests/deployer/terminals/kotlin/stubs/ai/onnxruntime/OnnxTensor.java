package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;

public class OnnxTensor extends OnnxTensorLike {
    public Object getValue() throws OrtException {
        return null;
    }

    public ByteBuffer getByteBuffer() {
        return null;
    }

    public FloatBuffer getFloatBuffer() {
        return null;
    }

    public IntBuffer getIntBuffer() {
        return null;
    }

    public LongBuffer getLongBuffer() {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, Object data) throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, String[] data, long[] shape) throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, IntBuffer data, long[] shape) throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, LongBuffer data, long[] shape) throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(OrtEnvironment env, ByteBuffer data, long[] shape, OnnxJavaType type)
            throws OrtException {
        return null;
    }
}
