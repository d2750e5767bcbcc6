package market.sample

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.TextView
import java.util.concurrent.Executors

/** Choose a picture, and see what the model says of it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val model = lazy { Model(this) }
    private val labels by lazy { readLabels(assets.open("labels.tsv").bufferedReader().use { it.readText() }) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        findViewById<Button>(R.id.choose).setOnClickListener {
            val request = Intent(Intent.ACTION_GET_CONTENT).setType("image/*")
            startActivityForResult(request, CHOSEN)
        }
        if (ModelSpec.EXAMPLE.isNotEmpty()) {
            answer { assets.open(ModelSpec.EXAMPLE) }
        }
    }

    @Deprecated("The replacement needs a library of its own.")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        @Suppress("DEPRECATION")
        super.onActivityResult(requestCode, resultCode, data)
        val chosen = data?.data
        if (requestCode == CHOSEN && resultCode == RESULT_OK && chosen != null) {
            answer { contentResolver.openInputStream(chosen) }
        }
    }

    override fun onDestroy() {
        worker.execute { if (model.isInitialized()) model.value.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun answer(source: Open) {
        val words = findViewById<TextView>(R.id.words)
        words.setText(R.string.working)
        worker.execute {
            try {
                val bitmap = decode(source)
                val began = System.nanoTime()
                val inputs = mapOf(ModelSpec.INPUTS[0].name to input(picture(bitmap), ::throughJpeg))
                val output = model.value.run(inputs, listOf(ModelSpec.OUTPUT)).getValue(ModelSpec.OUTPUT)
                val found = found(output, labels)
                val took = (System.nanoTime() - began) / 1_000_000
                runOnUiThread { show(bitmap, found, took) }
            } catch (error: Exception) {
                say(error)
            }
        }
    }

    private fun show(bitmap: Bitmap, found: List<Found>, milliseconds: Long) {
        val mask = found.firstOrNull()?.mask
        findViewById<ImageView>(R.id.picture).setImageBitmap(if (mask == null) bitmap else cutOut(bitmap, mask))
        val lines = found.map { it.words }.ifEmpty { listOf(getString(R.string.nothing)) }
        val time = "$milliseconds ${getString(R.string.milliseconds)}"
        findViewById<TextView>(R.id.words).text = (lines + time).joinToString("\n")
    }

    private fun say(error: Exception) {
        val text = "${getString(R.string.failed)} ${error.message ?: error.javaClass.simpleName}"
        runOnUiThread { findViewById<TextView>(R.id.words).text = text }
    }

    private companion object {
        const val CHOSEN = 1
    }
}
