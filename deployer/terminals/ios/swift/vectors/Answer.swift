import SwiftUI

/// What the field asks for.
let hint: LocalizedStringKey = "one_a_line"

/// The vector of the first line, and how near the other lines are to it in meaning, from -1 to 1.
func answer(_ text: String, _ run: Run) throws -> [String] {
    let given = text.split(separator: "\n").map { String($0) }
    let lines = given.isEmpty ? [""] : given
    let vectors = try lines.map { line -> [Float] in
        guard let output = try run(try features(line), [ModelSpec.output])[ModelSpec.output] else {
            return []
        }
        return vector(output)
    }
    let start = vectors[0].prefix(8).map { String(format: "%.4f", $0) }.joined(separator: ", ")
    let near = lines.indices.dropFirst().map { place in
        "\(String(format: "%.4f", cosine(vectors[0], vectors[place])))  \(lines[place])"
    }
    return ["[\(vectors[0].count)] \(start), …"] + near
}

/// One vector from the model's output: [1, n], or [1, tokens, n] by the mean or the first token.
func vector(_ output: Values) -> [Float] {
    let values = output.floats
    let width = output.shape[output.shape.count - 1]
    let rows = output.shape.count == 2 || ModelSpec.pooling == "cls" ? 1 : values.count / width
    let pooled = (0..<width).map { place in
        (0..<rows).reduce(Float(0)) { $0 + values[$1 * width + place] } / Float(rows)
    }
    if !ModelSpec.normalize {
        return pooled
    }
    let length = Float(max(product(pooled, pooled).squareRoot(), 1e-12))
    return pooled.map { $0 / length }
}

private func product(_ one: [Float], _ other: [Float]) -> Double {
    zip(one, other).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
}

private func cosine(_ one: [Float], _ other: [Float]) -> Double {
    product(one, other) / max((product(one, one) * product(other, other)).squareRoot(), 1e-12)
}
