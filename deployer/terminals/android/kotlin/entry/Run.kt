package market.sample

/** A run of the model: inputs by name and the outputs that are wanted, to outputs by name. */
typealias Run = (Map<String, Values>, List<String>) -> Map<String, Values>

/** The text of one of the app's files. */
typealias Read = (String) -> String
