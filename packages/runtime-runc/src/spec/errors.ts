// Configuration that cannot be turned into a spec.

/** The CRI configuration asks for what cannot be given; the text says what to change. */
export class SpecError extends Error {
  override readonly name = 'SpecError'
}
