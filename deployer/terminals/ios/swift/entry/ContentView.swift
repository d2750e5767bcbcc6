import SwiftUI

/// Type something, and see what the model says of it.
struct ContentView: View {
    @State private var entry = (try? read(ModelSpec.example)) ?? ""
    @State private var words = ""
    @State private var model: Model?

    var body: some View {
        VStack(alignment: .leading, spacing: 16) {
            Text("title").font(.title2)
            Text(hint).font(.footnote).foregroundStyle(.secondary)
            TextEditor(text: $entry)
                .frame(maxHeight: 180)
                .overlay(RoundedRectangle(cornerRadius: 8).stroke(.secondary))
            Button("run") {
                Task { await show() }
            }
            .buttonStyle(.borderedProminent)
            ScrollView {
                Text(verbatim: words).textSelection(.enabled).frame(maxWidth: .infinity, alignment: .leading)
            }
        }
        .padding()
    }

    private func show() async {
        words = String(localized: "working")
        do {
            let model = try self.model ?? Model()
            self.model = model
            let text = entry
            let began = Date()
            let lines = try await model.with { run in try answer(text, run) }
            let took = Int(Date().timeIntervalSince(began) * 1000)
            words = (lines + ["\(took) \(String(localized: "milliseconds"))"]).joined(separator: "\n")
        } catch {
            words = "\(String(localized: "failed")) \(error.localizedDescription)"
        }
    }
}
