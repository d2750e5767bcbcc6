package market.sample

/** The picture as the model takes it; `squeeze` passes one through JPEG. */
fun input(picture: Picture, squeeze: (Picture) -> Picture): Values {
    if (ModelSpec.RESIZE_SHORT > 0) {
        return pixels(centreByShortSide(picture, ModelSpec.RESIZE_SHORT, ModelSpec.CROP_WIDTH, ModelSpec.CROP_HEIGHT))
    }
    val scaled = picture.resized(ModelSpec.WIDTH, ModelSpec.HEIGHT, ModelSpec.FILTER)
    val squeezed = if (ModelSpec.JPEG) squeeze(scaled) else scaled
    return pixels(squeezed.centre(ModelSpec.CROP_WIDTH, ModelSpec.CROP_HEIGHT))
}

/** What there is to say of the model's output. */
fun found(output: Values, labels: List<Label>): List<Found> =
    best(output.floats(), labels, ModelSpec.ACTIVATION, ModelSpec.TOP_K)
        .map { Found("${it.label.title()}  ${percent(it.score)}", null) }
