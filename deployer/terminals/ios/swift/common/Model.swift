import Foundation
import OnnxRuntimeBindings

/// The model in ONNX Runtime, loaded once from the app's files. An actor: one run at a time, off the screen's thread.
actor Model {
    private let environment: ORTEnv
    private let session: ORTSession

    init() throws {
        guard let path = Bundle.main.path(forResource: "model", ofType: "ort") else {
            throw Failure(words: "model.ort")
        }
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        // To try the phone's accelerator:
        // try options.appendCoreMLExecutionProvider(with: ORTCoreMLExecutionProviderOptions())
        // See README.md for how much it would take.
        session = try ORTSession(env: environment, modelPath: path, sessionOptions: options)
    }

    /// Do something that runs the model.
    func with<Answer: Sendable>(_ work: @Sendable (Run) throws -> Answer) throws -> Answer {
        try work { inputs, outputs in try self.run(inputs, outputs) }
    }

    /// Run on inputs by name, and give the outputs of these names.
    private func run(_ inputs: [String: Values], _ outputs: [String]) throws -> [String: Values] {
        let feeds = try inputs.mapValues { try tensor($0) }
        let found = try session.run(withInputs: feeds, outputNames: Set(outputs), runOptions: nil)
        return try found.mapValues { try values($0) }
    }

    private func tensor(_ values: Values) throws -> ORTValue {
        let shape = values.shape.map { NSNumber(value: $0) }
        switch values.cells {
        case .floats(let cells):
            return try ORTValue(tensorData: data(cells), elementType: .float, shape: shape)
        case .longs(let cells):
            return try ORTValue(tensorData: data(cells), elementType: .int64, shape: shape)
        case .ints(let cells):
            return try ORTValue(tensorData: data(cells), elementType: .int32, shape: shape)
        case .bytes(let cells):
            return try ORTValue(tensorData: data(cells), elementType: .uInt8, shape: shape)
        case .texts(let cells):
            return try ORTValue(tensorStringData: cells, shape: shape)
        }
    }

    private func data<Cell>(_ cells: [Cell]) -> NSMutableData {
        cells.withUnsafeBytes { NSMutableData(bytes: $0.baseAddress, length: $0.count) }
    }

    private func values(_ value: ORTValue) throws -> Values {
        let info = try value.tensorTypeAndShapeInfo()
        let shape = info.shape.map { $0.intValue }
        switch info.elementType {
        case .string:
            return Values(cells: .texts(try value.tensorStringData()), shape: shape)
        case .int64:
            return Values(cells: .longs(try cells(value)), shape: shape)
        case .int32:
            return Values(cells: .ints(try cells(value)), shape: shape)
        case .uInt8:
            return Values(cells: .bytes(try cells(value)), shape: shape)
        default:
            return Values(cells: .floats(try cells(value)), shape: shape)
        }
    }

    private func cells<Cell>(_ value: ORTValue) throws -> [Cell] {
        let data = try value.tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: Cell.self)) }
    }
}
