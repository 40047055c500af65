// A gRPC server on a socket of the file system.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Server, ServerCredentials } from '@grpc/grpc-js'

/** Takes the place of a socket that another process left. @throws Error naming the path, which is too long for instance */
export async function listenOn(server: Server, path: string): Promise<AsyncDisposable> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(new Error(`cannot listen on ${path}: ${error.message}`, { cause: error })) : resolve(),
    )
  })
  await chmod(path, 0o660)
  return {
    async [Symbol.asyncDispose]() {
      server.forceShutdown()
      await rm(path, { force: true })
    },
  }
}
