import Foundation

/// A class of the model: its name, and how people call it.
struct Label {
    let name: String
    let zh: String
    let en: String

    /// In the phone's language.
    var title: String {
        (Locale.preferredLanguages.first ?? "en").hasPrefix("zh") ? zh : en
    }
}

/// Labels, one a line of labels.tsv: name, Chinese, English. The number of the line is that of the class.
func readLabels(_ text: String) -> [Label] {
    text.split(separator: "\n").map { line in
        let parts = line.split(separator: "\t").map { String($0) }
        return Label(name: parts[0], zh: parts[1], en: parts[2])
    }
}

/// Scores as probabilities; "auto" takes those that sum to one for such, others for logits.
func probabilities(_ scores: [Float], _ activation: String) -> [Double] {
    let values = scores.map { Double($0) }
    let ready = values.allSatisfy { $0 >= 0 } && abs(values.reduce(0, +) - 1) < 1e-3
    let how = activation == "auto" ? (ready ? "none" : "softmax") : activation
    switch how {
    case "softmax":
        let most = values.max() ?? 0
        let powers = values.map { exp($0 - most) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    case "sigmoid":
        return values.map { 0.5 * (1 + tanh($0 / 2)) }
    default:
        return values
    }
}

/// The likeliest labels and how likely they are, the likeliest first.
func best(_ scores: [Float], _ labels: [Label], _ activation: String, _ count: Int) -> [(Label, Double)] {
    let likely = probabilities(scores, activation)
    let order = labels.indices.sorted { likely[$0] != likely[$1] ? likely[$0] > likely[$1] : $0 < $1 }
    return order.prefix(count).map { (labels[$0], likely[$0]) }
}

/// A share in words: 93.1 %
func percent(_ share: Double) -> String {
    String(format: "%.1f %%", share * 100)
}
