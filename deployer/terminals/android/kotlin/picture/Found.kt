package market.sample

/** A grey picture of 0 to 255: how far each pixel belongs to something. */
class Mask(val width: Int, val height: Int, val values: ByteArray)

/** One thing that the model found, in words and perhaps as a part of the picture. */
class Found(val words: String, val mask: Mask?)
