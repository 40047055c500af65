// `plugins_registry`: plugins come by a socket there and go with it.
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { untilDone } from '../retry.ts'
import { type PluginHandlers, type Registered, registerPlugin } from './registration.ts'
import { followSockets, type Sockets } from './sockets.ts'

export interface PluginWatcherOptions {
  /** It and the folders below it are watched. */
  folder: string
  handlers: PluginHandlers
  clock: Clock
  log: Logger
}

export interface PluginWatcher extends AsyncDisposable {
  /** @throws Error when the folder cannot be watched */
  start(): Promise<void>
}

/** Between tries to register what answers wrongly or not at all, in milliseconds. */
const [firstMs, longestMs] = [500, 122_000]

interface Followed {
  /** Of the socket. */
  id: string
  /** Ends the tries. @returns what came of them */
  stop(): Promise<Registered | undefined>
}

export function createPluginWatcher({ folder, handlers, clock, log }: PluginWatcherOptions): PluginWatcher {
  const followed = new Map<string, Followed>()
  /** Sockets whose plugin is on its way out; the next one of that path waits for that. */
  const leaving = new Map<string, Promise<void>>()
  let watching: AsyncDisposable | undefined
  const { wake, ...waking } = wakeable(clock)

  const register = async (socket: string, signal: AbortSignal): Promise<Registered | undefined> => {
    await leaving.get(socket)
    try {
      const registered = await untilDone(async () => registerPlugin(socket, handlers, log, signal), {
        firstMs,
        longestMs,
        clock: waking,
        signal,
        onError: (error, again) => log.warn({ err: error, again }, 'a plugin is not registered'),
      })
      log.info({ socket, plugin: registered.plugin.name }, 'a plugin registered')
      return registered
    } catch {
      return undefined // its socket was gone before anything came of it
    }
  }
  const follow = (socket: string, id: string): Followed => {
    const ended = new AbortController()
    const registering = register(socket, ended.signal)
    return {
      id,
      async stop() {
        ended.abort(new Error(`${socket} is followed no more`))
        return registering
      },
    }
  }
  const leave = (socket: string, one: Followed): void => {
    followed.delete(socket)
    const release = async (): Promise<void> => {
      const registered = await one.stop()
      if (!registered) return
      log.info({ socket, plugin: registered.plugin.name }, 'a plugin is gone')
      await registered.handler.deregister(registered.plugin)
    }
    const released = release()
      .catch((error: unknown) => log.error({ err: error, socket }, 'letting go of a plugin'))
      .finally(() => {
        if (leaving.get(socket) === released) leaving.delete(socket)
        // One of its name may wait for it to go.
        wake()
      })
    leaving.set(socket, released)
  }
  const changed = (sockets: Sockets): void => {
    for (const [socket, one] of followed) if (sockets.get(socket) !== one.id) leave(socket, one)
    for (const [socket, id] of sockets) if (!followed.has(socket)) followed.set(socket, follow(socket, id))
  }

  return {
    async start() {
      const onError = (error: Error): void => log.warn({ err: error, folder }, 'watching for plugins')
      watching = await followSockets(folder, changed, onError)
    },
    async [Symbol.asyncDispose]() {
      await watching?.[Symbol.asyncDispose]()
      await Promise.all([...[...followed.values()].map(async (one) => one.stop()), ...leaving.values()])
    },
  }
}

/** A clock whose waits can be ended, all at once. */
function wakeable(clock: Clock): Clock & { wake(): void } {
  const waits = new Set<() => void>()
  return {
    now: () => clock.now(),
    after(ms, call) {
      const end = (): void => {
        cancel()
        call()
      }
      const stop = clock.after(ms, end)
      const cancel = (): void => {
        stop()
        waits.delete(end)
      }
      waits.add(end)
      return cancel
    },
    wake() {
      for (const end of waits) end()
    },
  }
}
