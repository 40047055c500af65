// A long text in pieces, as it is made and handed on: in one string it would be copied as a whole.

/** Characters of a piece, about. */
const chunkLength = 64 * 1024

export class TextChunks {
  readonly #chunks: string[] = []
  #current = ''

  add(line: string): void {
    this.#current += `${line}\n`
    if (this.#current.length >= chunkLength) this.#cut()
  }

  /** Takes over the pieces of another text. */
  append(chunks: readonly string[]): void {
    this.#cut()
    for (const chunk of chunks) this.#chunks.push(chunk)
  }

  /** The pieces; each ends with a line. */
  end(): readonly string[] {
    this.#cut()
    return this.#chunks
  }

  #cut(): void {
    if (this.#current !== '') this.#chunks.push(this.#current)
    this.#current = ''
  }
}
