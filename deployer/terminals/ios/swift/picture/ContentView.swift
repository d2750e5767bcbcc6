import PhotosUI
import SwiftUI

/// Choose a picture, and see what the model says of it.
struct ContentView: View {
    @State private var chosen: PhotosPickerItem?
    @State private var shown: UIImage?
    @State private var words = ""
    @State private var model: Model?

    var body: some View {
        VStack(spacing: 16) {
            Text("title").font(.title2).frame(maxWidth: .infinity, alignment: .leading)
            if let shown {
                Image(uiImage: shown).resizable().scaledToFit().frame(maxHeight: .infinity)
            } else {
                Spacer()
            }
            Text(verbatim: words).textSelection(.enabled).frame(maxWidth: .infinity, alignment: .leading)
            PhotosPicker(selection: $chosen, matching: .images) {
                Text("choose").frame(maxWidth: .infinity)
            }
            .buttonStyle(.borderedProminent)
        }
        .padding()
        .task { await start() }
        .onChange(of: chosen) { item in
            Task { await open(item) }
        }
    }

    private func start() async {
        if let path = Bundle.main.path(forResource: ModelSpec.example, ofType: nil), !ModelSpec.example.isEmpty,
           let image = UIImage(contentsOfFile: path) {
            await answer(image)
        }
    }

    private func open(_ item: PhotosPickerItem?) async {
        if let data = try? await item?.loadTransferable(type: Data.self), let image = UIImage(data: data) {
            await answer(image)
        }
    }

    private func answer(_ image: UIImage) async {
        words = String(localized: "working")
        shown = image
        do {
            let model = try self.model ?? Model()
            self.model = model
            let given = try picture(image)
            let labels = readLabels(try read("labels.tsv"))
            let began = Date()
            let things = try await model.with { run in
                let inputs = [ModelSpec.inputs[0].name: try input(given, throughJpeg)]
                guard let output = try run(inputs, [ModelSpec.output])[ModelSpec.output] else {
                    return [Found]()
                }
                return found(output, labels)
            }
            let took = Int(Date().timeIntervalSince(began) * 1000)
            if let mask = things.first?.mask {
                shown = cutOut(given, mask)
            }
            let lines = things.isEmpty ? [String(localized: "nothing")] : things.map { $0.words }
            words = (lines + ["\(took) \(String(localized: "milliseconds"))"]).joined(separator: "\n")
        } catch {
            words = "\(String(localized: "failed")) \(error.localizedDescription)"
        }
    }
}
