// A long text in pieces, as it is made and handed on: as bytes outside the heap of JavaScript. As strings all that it was put together of
// would stay in memory, a multiple of its length, and be copied by the garbage collector.

/** A part of a text: in UTF-8, or short. */
export type TextPiece = Uint8Array | string

const [encoder, decoder] = [new TextEncoder(), new TextDecoder()]

export const pieceText = (piece: TextPiece): string => (typeof piece === 'string' ? piece : decoder.decode(piece))

export const joined = (pieces: readonly TextPiece[]): string => pieces.map(pieceText).join('')

/** Characters after which what has been added becomes bytes: soon enough that what they were made of does not grow old. */
const writtenLength = 8 * 1024
/** Bytes of the first piece, about; each is twice as long as the one before, for the memory of long ones goes back to the kernel. */
const firstLength = 64 * 1024
const mostLength = 1024 * 1024
/** UTF-8 has so many for a character of a string. */
const mostBytes = 3

export class TextChunks {
  readonly #pieces: TextPiece[] = []
  #current = ''
  /** What is written of the piece that is being filled. */
  #buffer: Uint8Array | undefined
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
    if (!this.#fits()) {
      this.#endPiece()
      this.#buffer = new Uint8Array(Math.max(this.#nextLength, mostBytes * this.#current.length))
      this.#fits()
    }
    this.#current = ''
  }

  /** Writes it if there is room for all of it. */
  #fits(): boolean {
    if (!this.#buffer) return false
    const { read, written } = encoder.encodeInto(this.#current, this.#buffer.subarray(this.#length))
    if (read < this.#current.length) return false
    this.#length += written
    return true
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
