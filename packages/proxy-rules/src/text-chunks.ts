// A long text in pieces, as it is made and handed on: as bytes outside the heap of JavaScript. As strings all that it was put together of
// would stay in memory, a multiple of its length, and be copied by the garbage collector.

/** A part of a text: in UTF-8, or short. */
export type TextPiece = Buffer | string

/** Characters after which what has been added becomes bytes: soon enough that what they were made of does not grow old. */
const writtenLength = 8 * 1024
/** Bytes of the first piece, about; each is twice as long as the one before, for the memory of long ones goes back to the kernel. */
const firstLength = 64 * 1024
const mostLength = 1024 * 1024

export class TextChunks {
  readonly #pieces: TextPiece[] = []
  #current = ''
  /** What is written of the piece that is being filled. */
  #buffer: Buffer | undefined
  #length = 0
  #nextLength = firstLength

  add(line: string): void {
    this.#current += `${line}\n`
    if (this.#current.length >= writtenLength) this.#write()
  }

  /** Takes over the pieces of another text. */
  append(pieces: readonly TextPiece[]): void {
    this.#cut()
    for (const piece of pieces) this.#pieces.push(piece)
  }

  /** The pieces; each ends with a line. */
  end(): readonly TextPiece[] {
    this.#cut()
    return this.#pieces
  }

  #write(): void {
    const length = Buffer.byteLength(this.#current)
    if (this.#buffer && this.#length + length > this.#buffer.length) this.#endPiece()
    this.#buffer ??= Buffer.allocUnsafeSlow(Math.max(this.#nextLength, length))
    this.#length += this.#buffer.write(this.#current, this.#length)
    this.#current = ''
  }

  #endPiece(): void {
    if (!this.#buffer) return
    this.#pieces.push(this.#buffer.subarray(0, this.#length))
    this.#buffer = undefined
    this.#length = 0
    this.#nextLength = Math.min(2 * this.#nextLength, mostLength)
  }

  #cut(): void {
    if (this.#current !== '' && !this.#buffer) {
      // Short: a piece of its own would be mostly empty.
      this.#pieces.push(this.#current)
      this.#current = ''
    }
    if (this.#current !== '') this.#write()
    this.#endPiece()
  }
}
