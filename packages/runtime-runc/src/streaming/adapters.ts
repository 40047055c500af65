// The streaming server's work on containers of runc and conmon.
import { CriError } from '@nodelet/cri-api'
import type { Containers } from '../container/containers.ts'
import { makeFolders } from '../container/store.ts'
import type { Folders } from '../container/store.ts'
import { attachTo } from './attach.ts'
import { execIn } from './exec.ts'
import { forwardTo } from './forward.ts'
import { endLeftovers } from './leftovers.ts'
import type { StreamAdapters } from './types.ts'

/** Whose containers and sandboxes are streamed. */
export interface StreamAdapterOptions {
  containers: Containers
  /** As given to `openContainers`. */
  stateDir: string
  /** As given to `openContainers`. */
  runDir: string
  /**
   * The file that pins a sandbox's network; `host` for the node's own.
   * @throws CriError when the sandbox is not ready
   */
  networkOf(sandboxId: string): string
}

/** What the adapters share. */
export interface StreamContext {
  containers: Containers
  folders: Folders
}

/** Makes the adapters for `openStreaming`; programs of clients of a former life are ended. */
export async function createStreamAdapters(options: StreamAdapterOptions): Promise<StreamAdapters> {
  const context: StreamContext = {
    containers: options.containers,
    folders: await makeFolders(options.stateDir, options.runDir),
  }
  await endLeftovers(context.folders)
  return {
    exec: (request, io, signal) => execIn(context, request, io, signal),
    attach: (request, io, signal) => attachTo(context, request, io, signal),
    portForward: ({ sandboxId, port }, stream, signal) => {
      const network = options.networkOf(sandboxId)
      return forwardTo({ port, ...(network === 'host' ? {} : { netns: network }) }, stream, signal)
    },
  }
}

/** @throws CriError NOT_FOUND or FAILED_PRECONDITION */
export function requireRunning({ containers }: StreamContext, id: string): void {
  const { phase } = containers.status(id)
  if (phase === 'running') return
  throw new CriError('FAILED_PRECONDITION', `container ${id} is ${phase}: start it before connecting to it`)
}
