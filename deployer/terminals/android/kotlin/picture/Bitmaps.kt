package market.sample

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import android.graphics.Matrix
import android.media.ExifInterface
import java.io.ByteArrayOutputStream
import java.io.InputStream

private const val MOST_PIXELS = 16_000_000L

/** Opens a file of a picture, anew each time. */
typealias Open = () -> InputStream?

/** A picture file, upright, and halved until a phone's memory holds it. */
fun decode(source: Open): Bitmap {
    val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    source()?.use { BitmapFactory.decodeStream(it, null, size) }
    val options = BitmapFactory.Options()
    options.inSampleSize = 1
    while (size.outWidth.toLong() * size.outHeight / options.inSampleSize / options.inSampleSize > MOST_PIXELS) {
        options.inSampleSize *= 2
    }
    val bitmap = source()?.use { BitmapFactory.decodeStream(it, null, options) }
    requireNotNull(bitmap) { "this is not a picture" }
    val turn = source()?.use { orientation(it) } ?: Matrix()
    if (turn.isIdentity) {
        return bitmap
    }
    return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, turn, true)
}

/** How a camera held the picture, by its EXIF data. */
private fun orientation(stream: InputStream): Matrix {
    val turn = Matrix()
    val exif = try {
        ExifInterface(stream)
    } catch (_: java.io.IOException) {
        return turn
    }
    val said = exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
    when (said) {
        ExifInterface.ORIENTATION_ROTATE_90, ExifInterface.ORIENTATION_TRANSPOSE -> turn.postRotate(90f)
        ExifInterface.ORIENTATION_ROTATE_180, ExifInterface.ORIENTATION_FLIP_VERTICAL -> turn.postRotate(180f)
        ExifInterface.ORIENTATION_ROTATE_270, ExifInterface.ORIENTATION_TRANSVERSE -> turn.postRotate(270f)
    }
    when (said) {
        ExifInterface.ORIENTATION_FLIP_HORIZONTAL,
        ExifInterface.ORIENTATION_FLIP_VERTICAL,
        ExifInterface.ORIENTATION_TRANSPOSE,
        ExifInterface.ORIENTATION_TRANSVERSE,
        -> turn.postScale(-1f, 1f)
    }
    return turn
}

/** Android's pixels as the model's code reads them. */
fun picture(bitmap: Bitmap): Picture {
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return Picture.ofArgb(bitmap.width, bitmap.height, pixels)
}

/** The picture with a JPEG file's losses, which some models were trained on. */
fun throughJpeg(picture: Picture): Picture {
    val pixels = IntArray(picture.width * picture.height) { place ->
        fun of(channel: Int) = picture.rgb[place * 3 + channel].toInt() and 255
        Color.rgb(of(0), of(1), of(2))
    }
    val bitmap = Bitmap.createBitmap(pixels, picture.width, picture.height, Bitmap.Config.ARGB_8888)
    val file = ByteArrayOutputStream()
    bitmap.compress(Bitmap.CompressFormat.JPEG, 75, file)
    return picture(BitmapFactory.decodeByteArray(file.toByteArray(), 0, file.size()))
}

/** The part of a picture that a mask keeps, on nothing. */
fun cutOut(bitmap: Bitmap, mask: Mask): Bitmap {
    val small = Bitmap.createScaledBitmap(bitmap, mask.width, mask.height, true)
    val pixels = IntArray(mask.values.size)
    small.getPixels(pixels, 0, mask.width, 0, 0, mask.width, mask.height)
    for (place in pixels.indices) {
        pixels[place] = (pixels[place] and 0xFFFFFF) or ((mask.values[place].toInt() and 255) shl 24)
    }
    return Bitmap.createBitmap(pixels, mask.width, mask.height, Bitmap.Config.ARGB_8888)
}
