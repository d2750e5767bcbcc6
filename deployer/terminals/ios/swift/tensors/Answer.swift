import SwiftUI

/// What the field asks for.
let hint: LocalizedStringKey = "one_input_a_line"

private let most = 64

/// The outputs for inputs that are written as lines of "name = 1, 2, 3".
func answer(_ text: String, _ run: Run) throws -> [String] {
    let names = ModelSpec.outputs.map { $0.name }
    let outputs = try run(try inputs(text), names)
    return names.compactMap { name in
        outputs[name].map { "\(name) \($0.shape) = \(shown($0))" }
    }
}

/// Each line as the tensor of its name; a model with one input needs no name.
func inputs(_ text: String) throws -> [String: Values] {
    let lines = text.split(separator: "\n").map { String($0) }.filter { !blank($0).isEmpty }
    var made: [String: Values] = [:]
    for tensor in ModelSpec.inputs {
        let own = lines.first { line in
            guard let end = line.lastIndex(of: "=") else { return false }
            return blank(String(line[..<end])) == tensor.name
        }
        guard let line = own ?? (lines.count == 1 ? lines[0] : nil) else {
            throw Failure(words: "\(tensor.name) = ?")
        }
        let cells = line.split(separator: "=").last.map { String($0) } ?? ""
        made[tensor.name] = try values(tensor, cells.split(separator: ",").map { blank(String($0)) })
    }
    return made
}

private func blank(_ text: String) -> String {
    text.trimmingCharacters(in: .whitespaces)
}

/// Values in the tensor's type; the first free axis takes what the others leave, further ones have the length 1.
private func values(_ tensor: Tensor, _ cells: [String]) throws -> Values {
    var shape = tensor.shape.map { max($0, 1) }
    if let free = tensor.shape.firstIndex(where: { $0 < 0 }) {
        shape[free] = cells.count / shape.reduce(1, *)
    }
    let wanted = shape.reduce(1, *)
    guard wanted == cells.count else {
        throw Failure(words: "\(tensor.name): \(wanted) ≠ \(cells.count)")
    }
    func all<Cell>(_ made: (String) -> Cell?) throws -> [Cell] {
        try cells.map { cell in
            guard let value = made(cell) else { throw Failure(words: "\(tensor.name): \(cell)") }
            return value
        }
    }
    switch tensor.datatype {
    case "INT64": return Values(cells: .longs(try all { Int64($0) }), shape: shape)
    case "INT32": return Values(cells: .ints(try all { Int32($0) }), shape: shape)
    case "UINT8": return Values(cells: .bytes(try all { UInt8($0) }), shape: shape)
    case "BYTES": return Values(cells: .texts(cells), shape: shape)
    default: return Values(cells: .floats(try all { Float($0) }), shape: shape)
    }
}

private func shown(_ values: Values) -> String {
    var cells: [String]
    switch values.cells {
    case .texts(let texts): cells = texts
    case .longs(let numbers): cells = numbers.map { String($0) }
    case .ints(let numbers): cells = numbers.map { String($0) }
    default: cells = values.floats.map { String($0) }
    }
    if cells.count > most {
        cells = cells.prefix(most) + ["…"]
    }
    return cells.joined(separator: ", ")
}
