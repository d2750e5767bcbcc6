package market.sample

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.IntBuffer
import java.nio.LongBuffer

/** The model in ONNX Runtime, loaded once from the app's assets. Use it from one thread, not the screen's. */
class Model(context: Context) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()

    // To try the phone's accelerator, call options.addNnapi() here. See README.md for how much it would take.
    private val options = OrtSession.SessionOptions()
    private val session: OrtSession

    init {
        val bytes = context.assets.open("model.ort").use { it.readBytes() }
        session = environment.createSession(bytes, options)
    }

    /** Run on inputs by name, and give the outputs of these names. */
    fun run(inputs: Map<String, Values>, outputs: List<String>): Map<String, Values> {
        val feeds = HashMap<String, OnnxTensor>()
        try {
            for ((name, values) in inputs) {
                feeds[name] = tensor(values)
            }
            return session.run(feeds, outputs.toSet()).use { result ->
                outputs.associateWith { name -> values(result.get(name).get() as OnnxTensor) }
            }
        } finally {
            feeds.values.forEach { it.close() }
        }
    }

    override fun close() {
        session.close()
        options.close()
    }

    private fun tensor(values: Values): OnnxTensor = when (val data = values.data) {
        is FloatArray -> OnnxTensor.createTensor(environment, FloatBuffer.wrap(data), values.shape)
        is LongArray -> OnnxTensor.createTensor(environment, LongBuffer.wrap(data), values.shape)
        is IntArray -> OnnxTensor.createTensor(environment, IntBuffer.wrap(data), values.shape)
        is ByteArray -> OnnxTensor.createTensor(environment, direct(data), values.shape, OnnxJavaType.UINT8)
        is Array<*> -> {
            val texts = Array(data.size) { data[it].toString() }
            OnnxTensor.createTensor(environment, texts, values.shape)
        }
        else -> throw IllegalArgumentException("no tensor is made of ${data.javaClass.name}")
    }

    private fun direct(data: ByteArray): ByteBuffer {
        val buffer = ByteBuffer.allocateDirect(data.size).order(ByteOrder.nativeOrder())
        buffer.put(data)
        buffer.rewind()
        return buffer
    }

    private fun values(tensor: OnnxTensor): Values {
        val shape = tensor.info.shape
        val data: Any = when (tensor.info.type) {
            OnnxJavaType.FLOAT -> tensor.floatBuffer.let { buffer ->
                FloatArray(buffer.remaining()).also { buffer.get(it) }
            }
            OnnxJavaType.INT64 -> tensor.longBuffer.let { buffer ->
                LongArray(buffer.remaining()).also { buffer.get(it) }
            }
            OnnxJavaType.INT32 -> tensor.intBuffer.let { buffer ->
                IntArray(buffer.remaining()).also { buffer.get(it) }
            }
            OnnxJavaType.UINT8 -> tensor.byteBuffer.let { buffer ->
                ByteArray(buffer.remaining()).also { buffer.get(it) }
            }
            else -> texts(tensor.value).toTypedArray()
        }
        return Values(data, shape)
    }

    /** Texts come in arrays of arrays. */
    private fun texts(value: Any?): List<String> =
        if (value is Array<*>) value.flatMap { texts(it) } else listOf(value.toString())
}
