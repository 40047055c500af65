/** A manifest that is no static pod; the message names the fields. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError'
}
