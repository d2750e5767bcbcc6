import Foundation

/// The picture as the model takes it; `squeeze` passes one through JPEG.
func input(_ picture: Picture, _ squeeze: (Picture) throws -> Picture) throws -> Values {
    if ModelSpec.resizeShort > 0 {
        let size = (ModelSpec.cropWidth, ModelSpec.cropHeight)
        return pixels(centreByShortSide(picture, ModelSpec.resizeShort, size.0, size.1))
    }
    let scaled = picture.resized(ModelSpec.width, ModelSpec.height, ModelSpec.filter)
    let squeezed = ModelSpec.jpeg ? try squeeze(scaled) : scaled
    return pixels(squeezed.centre(ModelSpec.cropWidth, ModelSpec.cropHeight))
}

/// What there is to say of the model's output.
func found(_ output: Values, _ labels: [Label]) -> [Found] {
    best(output.floats, labels, ModelSpec.activation, ModelSpec.topK).map { label, score in
        Found(words: "\(label.title)  \(percent(score))", mask: nil)
    }
}
