// What the checks of a real runtime need around it, and how one says that it cannot be made.
import { setTimeout as sleep } from 'node:timers/promises'
import type { ImageService, RuntimeService } from '../services.ts'

/** Mounts on the runtime's host, undone by the one who made them. Paths are absolute and exist. */
export interface HostMounts {
  /** Binds a folder onto itself, so that it is a mount, of that propagation. */
  self(path: string, propagation: 'private' | 'shared'): Promise<void>
  bind(source: string, target: string): Promise<void>
  tmpfs(target: string): Promise<void>
  unmount(target: string): Promise<void>
}

/** What came of a command that ran over a stream. */
export interface StreamResult {
  stdout: string
  stderr: string
  exitCode: number
}

/** A client of the streaming protocols, for URLs that a runtime gave. */
export interface StreamClient {
  exec(url: string, options: { stdin?: string; tty?: boolean }): Promise<StreamResult>
  /** Sends the text, ends the input once the output has `expected` in it, and resolves with all output at the end. */
  attach(url: string, text: string, expected: string): Promise<string>
  /** Sends the text to a port and resolves with all that comes back. */
  portForward(url: string, port: number, text: string): Promise<string>
}

/** A runtime under test, on this host: folders, namespaces and addresses are its own too. */
export interface ValidationRuntime {
  runtimeService: RuntimeService
  imageService: ImageService
  handler: string
  /** An empty folder for logs and volumes. */
  folder: string
  /** Of all pods; empty for the runtime's own choice. */
  cgroupParent: string
  /** The full reference of a test image, for instance of `busybox:1`, and its name in a second registry. */
  image(name: string, registry?: 'first' | 'second'): string
  mounts: HostMounts
  streams: StreamClient
}

/** Checks of one subject, by the fact that each shows. */
export type Checks = Readonly<Record<string, (runtime: ValidationRuntime) => Promise<void>>>

/** The runtime does not offer what the check is about, and says so itself. */
export class SuiteSkip extends Error {
  override readonly name = 'SuiteSkip'
}

/** Asks until the answer is something; throws after ten seconds. */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(20)) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
  }
  throw new Error(`timed out after 10 s: ${what}`)
}
