// TCP probes: a connection that is made and closed.
import { createConnection } from 'node:net'
import type { Attempt } from './attempt.ts'
import { dialError } from './dial-error.ts'
import { joinHostPort } from './port.ts'

export function probeTcp(
  host: string,
  port: number,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<Attempt> {
  const address = joinHostPort(host, port)
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, autoSelectFamily: false })
    const end = (attempt: Attempt): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      socket.destroy()
      resolve(attempt)
    }
    const abort = (): void => end({ status: 'unknown', message: 'the probe was ended' })
    const timer = setTimeout(() => end({ status: 'failure', message: `dial tcp ${address}: i/o timeout` }), timeoutMs)
    signal.addEventListener('abort', abort)
    socket.once('connect', () => end({ status: 'success', message: '' }))
    socket.on('error', (error) => end({ status: 'failure', message: dialError(error, address) }))
  })
}
