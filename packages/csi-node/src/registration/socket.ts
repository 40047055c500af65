// A gRPC server on a socket of the file system.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Server, ServerCredentials } from '@grpc/grpc-js'

/**
 * Takes the place of a socket that another process left.
 * @param graceMs how long calls that are answered already may take to reach their callers at the end; default 0
 * @throws Error naming the path, which is too long for instance
 */
export async function listenOn(server: Server, path: string, graceMs = 0): Promise<AsyncDisposable> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(new Error(`cannot listen on ${path}: ${error.message}`, { cause: error })) : resolve(),
    )
  })
  try {
    await chmod(path, 0o660)
  } catch (error) {
    server.forceShutdown()
    throw error
  }
  return {
    async [Symbol.asyncDispose]() {
      if (graceMs > 0) await Promise.race([shutDown(server), sleep(graceMs, undefined, { ref: false })])
      server.forceShutdown()
      await rm(path, { force: true })
    },
  }
}

/** Once no call goes on. */
const shutDown = async (server: Server): Promise<void> => new Promise((resolve) => server.tryShutdown(() => resolve()))
