// Reads [texts] from standard input and writes the token ids that the page would send to the graph for each.
// Arguments: the tokenizer's script and the model's tokenizer.json.
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [script, file] = process.argv.slice(2);
const { Tokenizer } = await import(pathToFileURL(script).href);
const tokenizer = new Tokenizer(JSON.parse(fs.readFileSync(file, "utf8")), {});
const texts = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(texts.map((text) => Array.from(tokenizer.encode(text).ids))));
