import Foundation

/// The picture as the model takes it.
func input(_ picture: Picture, _ squeeze: (Picture) throws -> Picture) throws -> Values {
    pixels(picture.resized(ModelSpec.width, ModelSpec.height, ModelSpec.filter))
}

/// One label's part of the picture: how sure it is, its share of the picture, and its pixels.
struct Part {
    let label: Label
    let score: Double
    let area: Double
    let mask: Mask
}

/// What there is to say of the model's output, the largest part first.
func found(_ output: Values, _ labels: [Label]) -> [Found] {
    parts(output, labels).map { Found(words: "\($0.label.title)  \(percent($0.area))", mask: $0.mask) }
}

/// The labels that are in the picture at all.
func parts(_ output: Values, _ labels: [Label]) -> [Part] {
    let maps = Maps(output, labels.count)
    var found: [Part] = []
    for (number, label) in labels.enumerated() where !ModelSpec.hidden.contains(label.name) {
        let chances = (0..<maps.area).map { maps.chance(number, $0) }
        let taken = (0..<maps.area).map { maps.mine(number, $0) && chances[$0] >= Float(ModelSpec.threshold) }
        let count = taken.filter { $0 }.count
        let area = Double(count) / Double(maps.area)
        if count == 0 || area < ModelSpec.leastArea {
            continue
        }
        let sum = (0..<maps.area).reduce(0.0) { taken[$1] ? $0 + Double(chances[$1]) : $0 }
        let values = (0..<maps.area).map { place -> UInt8 in
            let chance: Float = labels.count == 1 ? chances[place] : (taken[place] ? 1 : 0)
            return UInt8((chance * 255).rounded())
        }
        let mask = Mask(width: maps.width, height: maps.height, values: values)
        found.append(Part(label: label, score: sum / Double(count), area: area, mask: mask))
    }
    return found.sorted { $0.area > $1.area }
}

/// The model's output: a map of probabilities for each label, or the number of the label of each pixel.
private struct Maps {
    let height: Int
    let width: Int
    let area: Int
    private let count: Int
    private let byPixel: Bool
    private var values: [Float]

    init(_ output: Values, _ count: Int) {
        let shape = output.shape
        self.count = count
        byPixel = shape.count == 4 && ModelSpec.outputLayout == "NHWC"
        height = byPixel ? shape[1] : shape[shape.count - 2]
        width = byPixel ? shape[2] : shape[shape.count - 1]
        area = height * width
        values = output.floats
        if !ModelSpec.numbered {
            activate(ModelSpec.activation == "auto" ? guess() : ModelSpec.activation)
        }
    }

    func chance(_ label: Int, _ place: Int) -> Float {
        ModelSpec.numbered ? (Int(values[place]) == label ? 1 : 0) : values[at(label, place)]
    }

    /// Whether a pixel may be the label's; where labels exclude each other the likeliest has it.
    func mine(_ label: Int, _ place: Int) -> Bool {
        if ModelSpec.numbered {
            return Int(values[place]) == label
        }
        if !ModelSpec.exclusive {
            return true
        }
        let own = values[at(label, place)]
        return (0..<count).allSatisfy { other in
            let its = values[at(other, place)]
            return its < own || (its == own && other >= label)
        }
    }

    private func at(_ label: Int, _ place: Int) -> Int {
        byPixel ? place * count + label : label * area + place
    }

    private func total(_ place: Int) -> Float {
        (0..<count).reduce(0) { $0 + values[at($1, place)] }
    }

    private func guess() -> String {
        let within = values.allSatisfy { $0 >= 0 && $0 <= 1 }
        let ready = within && (count == 1 || (0..<area).allSatisfy { abs(total($0) - 1) < 1e-2 })
        return ready ? "none" : (count == 1 ? "sigmoid" : "softmax")
    }

    private mutating func activate(_ how: String) {
        for place in 0..<area {
            let most = (0..<count).map { values[at($0, place)] }.max() ?? 0
            for label in 0..<count {
                let value = values[at(label, place)]
                switch how {
                case "sigmoid": values[at(label, place)] = 0.5 * (1 + tanh(value / 2))
                case "softmax": values[at(label, place)] = exp(value - most)
                default: values[at(label, place)] = min(max(value, 0), 1)
                }
            }
            if how == "softmax" {
                let sum = total(place)
                for label in 0..<count {
                    values[at(label, place)] /= sum
                }
            }
        }
    }
}
