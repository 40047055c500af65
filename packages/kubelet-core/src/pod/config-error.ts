/** A container that cannot be configured as its pod asks: it waits with reason `CreateContainerConfigError` and this message. */
export class ContainerConfigError extends Error {
  override readonly name = 'ContainerConfigError'
}
