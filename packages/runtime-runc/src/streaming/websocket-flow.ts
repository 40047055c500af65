// Back-pressure on a WebSocket, both ways.
import type { WebSocket } from 'ws'

/** Holds a client's messages back. Both may be called again and again. */
export interface Flow {
  pause(): void
  resume(): void
}

/** @param probeMs how often the client is pinged while nothing is read from it: only so is seen that it has gone */
export function createFlow(socket: WebSocket, probeMs: number): Flow {
  let timer: NodeJS.Timeout | undefined
  const stop = (): void => {
    clearInterval(timer)
    timer = undefined
  }
  socket.once('close', stop)
  return {
    pause: () => {
      if (socket.readyState !== socket.OPEN) return
      socket.pause()
      timer ??= setInterval(() => {
        if (socket.readyState === socket.OPEN) socket.ping()
      }, probeMs)
    },
    resume: () => {
      stop()
      socket.resume()
    },
  }
}

/** Sends a message and waits until it has left. @throws Error when the client has gone */
export async function send(socket: WebSocket, message: Buffer | string): Promise<void> {
  await new Promise<void>((resolve, reject) =>
    socket.send(message, { binary: typeof message !== 'string' }, (error) => (error ? reject(error) : resolve())),
  )
}
