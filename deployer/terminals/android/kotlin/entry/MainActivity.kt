package market.sample

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import java.util.concurrent.Executors

/** Type something, and see what the model says of it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val model = lazy { Model(this) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        val entry = findViewById<EditText>(R.id.entry)
        entry.setHint(HINT)
        entry.setText(read(ModelSpec.EXAMPLE))
        findViewById<Button>(R.id.run).setOnClickListener { answer(entry.text.toString()) }
    }

    override fun onDestroy() {
        worker.execute { if (model.isInitialized()) model.value.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun read(name: String): String = assets.open(name).bufferedReader().use { it.readText() }

    private fun answer(text: String) {
        val words = findViewById<TextView>(R.id.words)
        words.setText(R.string.working)
        worker.execute {
            val said = try {
                val began = System.nanoTime()
                val lines = answer(text, ::read, model.value::run)
                val took = (System.nanoTime() - began) / 1_000_000
                (lines + "$took ${getString(R.string.milliseconds)}").joinToString("\n")
            } catch (error: Exception) {
                "${getString(R.string.failed)} ${error.message ?: error.javaClass.simpleName}"
            }
            runOnUiThread { words.text = said }
        }
    }
}
