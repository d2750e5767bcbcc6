import Foundation

/// A picture in memory: one byte each of red, green and blue for every pixel, row by row.
struct Picture {
    let width: Int
    let height: Int
    let rgb: [UInt8]

    /// The part of this size from the centre.
    func centre(_ wide: Int, _ high: Int) -> Picture {
        let left = (width - wide) / 2
        let top = (height - high) / 2
        var part: [UInt8] = []
        part.reserveCapacity(wide * high * 3)
        for row in 0..<high {
            let from = ((top + row) * width + left) * 3
            part.append(contentsOf: rgb[from..<(from + wide * 3)])
        }
        return Picture(width: wide, height: high, rgb: part)
    }

    /// The picture within a box, scaled to a size.
    ///
    /// Done as the Pillow library does it, whose pixels the model was checked with: every pixel is the
    /// weighted sum of those that the filter's support covers, in whole numbers, along rows and along columns
    /// one after the other.
    func resized(_ wide: Int, _ high: Int, _ filter: String, box: Box? = nil) -> Picture {
        let box = box ?? Box(left: 0, top: 0, right: Float(width), bottom: Float(height))
        if filter == "nearest" {
            return nearest(wide, high, box)
        }
        let across = Weights(size: width, from: box.left, to: box.right, count: wide, filter: filter)
        let down = Weights(size: height, from: box.top, to: box.bottom, count: high, filter: filter)
        // Which goes first decides about the rounding; this is Pillow's choice.
        let columnsFirst = high < height && height - high > 2 * (width - wide)
        return columnsFirst ? alongColumns(down).alongRows(across) : alongRows(across).alongColumns(down)
    }

    private func alongRows(_ weights: Weights) -> Picture {
        let wide = weights.start.count
        var made = [UInt8](repeating: 0, count: wide * height * 3)
        for y in 0..<height {
            for x in 0..<wide {
                for channel in 0..<3 {
                    let from = (y * width + weights.start[x]) * 3 + channel
                    made[(y * wide + x) * 3 + channel] = weights.sum(x, rgb, from, 3)
                }
            }
        }
        return Picture(width: wide, height: height, rgb: made)
    }

    private func alongColumns(_ weights: Weights) -> Picture {
        let row = width * 3
        var made = [UInt8](repeating: 0, count: weights.start.count * row)
        for y in weights.start.indices {
            for place in 0..<row {
                made[y * row + place] = weights.sum(y, rgb, weights.start[y] * row + place, row)
            }
        }
        return Picture(width: width, height: weights.start.count, rgb: made)
    }

    private func nearest(_ wide: Int, _ high: Int, _ box: Box) -> Picture {
        let columns = places(box.left, box.right, wide, width)
        let rows = places(box.top, box.bottom, high, height)
        var scaled: [UInt8] = []
        scaled.reserveCapacity(wide * high * 3)
        for row in rows {
            for column in columns {
                let from = (row * width + column) * 3
                scaled.append(contentsOf: rgb[from..<(from + 3)])
            }
        }
        return Picture(width: wide, height: high, rgb: scaled)
    }

    private func places(_ from: Float, _ to: Float, _ count: Int, _ limit: Int) -> [Int] {
        let step = Double(to - from) / Double(count)
        var place = Double(from) + step * 0.5
        return (0..<count).map { _ in
            let found = min(Int(place), limit - 1)
            place += step
            return found
        }
    }
}

/// A part of a picture, in pixels from its left and top.
struct Box {
    let left: Float
    let top: Float
    let right: Float
    let bottom: Float
}

/// For each pixel of a row to be made: where its source pixels start, and the weight of each.
private struct Weights {
    private static let bits = 22
    private static let one = 1 << bits

    private(set) var start: [Int] = []
    private var weights: [[Int]] = []

    init(size: Int, from: Float, to: Float, count: Int, filter: String) {
        let scale = Double(to - from) / Double(count)
        let stretch = max(scale, 1)
        let support = Weights.radius(filter) * stretch
        let shrink = 1 / stretch
        for place in 0..<count {
            let centre = Double(from) + (Double(place) + 0.5) * scale
            let first = max(Int(centre - support + 0.5), 0)
            let end = min(Int(centre + support + 0.5), size)
            let shares = (first..<end).map { Weights.weight(filter, (Double($0) - centre + 0.5) * shrink) }
            let sum = shares.reduce(0, +)
            start.append(first)
            weights.append(shares.map { share in
                let whole = share / sum * Double(Weights.one)
                return Int(whole < 0 ? whole - 0.5 : whole + 0.5)
            })
        }
    }

    /// The weighted sum for a place, of source bytes from `from` on, each `step` after the last.
    func sum(_ place: Int, _ source: [UInt8], _ from: Int, _ step: Int) -> UInt8 {
        var total = Weights.one / 2
        var next = from
        for weight in weights[place] {
            total += Int(source[next]) * weight
            next += step
        }
        return UInt8(min(max(total >> Weights.bits, 0), 255))
    }

    private static func radius(_ filter: String) -> Double {
        switch filter {
        case "bicubic": return 2
        case "lanczos": return 3
        default: return 1
        }
    }

    private static func weight(_ filter: String, _ at: Double) -> Double {
        let x = abs(at)
        switch filter {
        case "bicubic":
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0
        case "lanczos":
            return x < 3 ? wave(x) * wave(x / 3) : 0
        default:
            return max(1 - x, 0)
        }
    }

    private static func wave(_ x: Double) -> Double {
        x == 0 ? 1 : sin(Double.pi * x) / (Double.pi * x)
    }
}
