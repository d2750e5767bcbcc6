import Foundation

/// A picture as the model takes it: (pixel × scale - mean) / std, in the order of channels and layout.
func pixels(_ picture: Picture) -> Values {
    let count = ModelSpec.mean.count
    let area = picture.width * picture.height
    var values = [Float](repeating: 0, count: area * count)
    let factor = (0..<count).map { Float(ModelSpec.scale) / Float(ModelSpec.std[$0]) }
    let shift = (0..<count).map { Float(ModelSpec.mean[$0]) / Float(ModelSpec.std[$0]) }
    for place in 0..<area {
        for channel in 0..<count {
            let value = Float(sample(picture, place, channel)) * factor[channel] - shift[channel]
            values[ModelSpec.layout == "NCHW" ? channel * area + place : place * count + channel] = value
        }
    }
    let shape = ModelSpec.layout == "NCHW"
        ? [1, count, picture.height, picture.width]
        : [1, picture.height, picture.width, count]
    if ModelSpec.inputs[0].datatype == "UINT8" {
        let bytes = values.map { UInt8(min(max($0.rounded(.toNearestOrEven), 0), 255)) }
        return Values(cells: .bytes(bytes), shape: shape)
    }
    return Values(cells: .floats(values), shape: shape)
}

private func sample(_ picture: Picture, _ place: Int, _ channel: Int) -> Int {
    func of(_ colour: Int) -> Int { Int(picture.rgb[place * 3 + colour]) }
    switch ModelSpec.channels {
    case "L": return (of(0) * 19595 + of(1) * 38470 + of(2) * 7471 + 32768) >> 16
    case "BGR": return of(2 - channel)
    default: return of(channel)
    }
}

/// The centre of a picture that is scaled to a short side, in one step from the source.
func centreByShortSide(_ picture: Picture, _ short: Int, _ wide: Int, _ high: Int) -> Picture {
    let scale = Double(short) / Double(min(picture.width, picture.height))
    let across = Double(min(wide, short)) / scale
    let down = Double(min(high, short)) / scale
    let left = (Double(picture.width) - across) / 2
    let top = (Double(picture.height) - down) / 2
    let box = Box(
        left: Float(max(left, 0)),
        top: Float(max(top, 0)),
        right: Float(min(left + across, Double(picture.width))),
        bottom: Float(min(top + down, Double(picture.height)))
    )
    return picture.resized(wide, high, ModelSpec.filter, box: box)
}
