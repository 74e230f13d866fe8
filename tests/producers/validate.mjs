// Reads an AsyncAPI document with the standard's own parser; each line is an error or a warning, and none is well.
import { readFileSync } from 'node:fs'
import { Parser } from '@asyncapi/parser'

const WARNING = 1
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'))
for (const { code, path, message, severity } of diagnostics) {
  if (severity <= WARNING) console.log(`${code} ${path.join('.')}: ${message}`)
}
process.exitCode = document ? 0 : 1
