import SwiftUI

/// What the field asks for.
let hint: LocalizedStringKey = "one_text"

/// The labels of a text, the likeliest first.
func answer(_ text: String, _ run: Run) throws -> [String] {
    let labels = readLabels(try read("labels.tsv"))
    guard let scores = try run(try features(text), [ModelSpec.output])[ModelSpec.output] else {
        return []
    }
    return best(scores.floats, labels, ModelSpec.activation, 5).map { label, score in
        "\(label.title)  \(percent(score))"
    }
}
