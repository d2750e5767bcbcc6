import UIKit

private let mostPixels = 16_000_000.0

/// A picture's pixels, upright, on white where it is transparent, and smaller where a phone's memory asks for it.
func picture(_ image: UIImage) throws -> Picture {
    let full = Double(image.size.width * image.scale) * Double(image.size.height * image.scale)
    let share = full > mostPixels ? (mostPixels / full).squareRoot() : 1
    let width = max(Int(Double(image.size.width * image.scale) * share), 1)
    let height = max(Int(Double(image.size.height * image.scale) * share), 1)
    let format = UIGraphicsImageRendererFormat()
    format.scale = 1
    format.opaque = true
    let area = CGRect(x: 0, y: 0, width: width, height: height)
    let drawn = UIGraphicsImageRenderer(size: area.size, format: format).image { context in
        UIColor.white.setFill()
        context.fill(area)
        image.draw(in: area)
    }
    var bytes = [UInt8](repeating: 255, count: width * height * 4)
    let space = CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB()
    let made = bytes.withUnsafeMutableBytes { memory -> Bool in
        guard let source = drawn.cgImage, let context = CGContext(
            data: memory.baseAddress,
            width: width,
            height: height,
            bitsPerComponent: 8,
            bytesPerRow: width * 4,
            space: space,
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
        ) else {
            return false
        }
        context.draw(source, in: area)
        return true
    }
    guard made else {
        throw Failure(words: "CGContext")
    }
    var rgb = [UInt8](repeating: 0, count: width * height * 3)
    for place in 0..<(width * height) {
        for channel in 0..<3 {
            rgb[place * 3 + channel] = bytes[place * 4 + channel]
        }
    }
    return Picture(width: width, height: height, rgb: rgb)
}

/// The picture with a JPEG file's losses, which some models were trained on.
func throughJpeg(_ given: Picture) throws -> Picture {
    guard let file = image(given, alpha: nil).jpegData(compressionQuality: 0.75), let read = UIImage(data: file) else {
        throw Failure(words: "JPEG")
    }
    return try picture(read)
}

/// The part of a picture that a mask keeps, on nothing.
func cutOut(_ given: Picture, _ mask: Mask) -> UIImage {
    image(given.resized(mask.width, mask.height, "bilinear"), alpha: mask.values)
}

/// A picture for the screen, with how opaque each pixel is.
private func image(_ given: Picture, alpha: [UInt8]?) -> UIImage {
    var bytes = [UInt8](repeating: 255, count: given.width * given.height * 4)
    for place in 0..<(given.width * given.height) {
        let opaque = Int(alpha?[place] ?? 255)
        for channel in 0..<3 {
            bytes[place * 4 + channel] = UInt8(Int(given.rgb[place * 3 + channel]) * opaque / 255)
        }
        bytes[place * 4 + 3] = UInt8(opaque)
    }
    guard let provider = CGDataProvider(data: Data(bytes) as CFData), let made = CGImage(
        width: given.width,
        height: given.height,
        bitsPerComponent: 8,
        bitsPerPixel: 32,
        bytesPerRow: given.width * 4,
        space: CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB(),
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.premultipliedLast.rawValue),
        provider: provider,
        decode: nil,
        shouldInterpolate: true,
        intent: .defaultIntent
    ) else {
        return UIImage()
    }
    return UIImage(cgImage: made)
}
