import Foundation

/// A grey picture of 0 to 255: how far each pixel belongs to something.
struct Mask {
    let width: Int
    let height: Int
    let values: [UInt8]
}

/// One thing that the model found, in words and perhaps as a part of the picture.
struct Found {
    let words: String
    let mask: Mask?
}
