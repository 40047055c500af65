export async function startControllers(_: object): Promise<AsyncDisposable> {
  return { [Symbol.asyncDispose]: async () => undefined }
}
