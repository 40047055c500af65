// Names in tars are bytes; here they are text.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws Error when it is no UTF-8: two such names could become one */
export function namedText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new Error(`the name ${JSON.stringify(Buffer.from(bytes).toString('latin1'))} is not UTF-8`, { cause })
  }
}
