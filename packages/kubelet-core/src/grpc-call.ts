// Calls of gRPC services as promises, on either side.
import { type ServiceError, status } from '@grpc/grpc-js'

type Reply<T> = (error: ServiceError | null, answer?: T) => void

/**
 * One call, which ends at its deadline or when its signal is aborted.
 * @throws ServiceError of the other side; the signal's reason
 */
export async function called<T>(
  make: (deadline: { deadline: number }, reply: Reply<T>) => { cancel(): void },
  ms: number,
  signal: AbortSignal,
): Promise<T> {
  signal.throwIfAborted()
  return new Promise<T>((resolve, reject) => {
    const running = make({ deadline: Date.now() + ms }, (error, answer) => {
      signal.removeEventListener('abort', cancel)
      if (answer !== undefined) resolve(answer)
      else reject(signal.aborted ? (signal.reason as Error) : (error ?? new Error('the call has no answer')))
    })
    const cancel = (): void => running.cancel()
    signal.addEventListener('abort', cancel, { once: true })
  })
}

/** Answers a call with what the work comes to. */
export async function answered<T>(
  reply: (error: { code: status; details: string } | null, answer?: T) => void,
  work: () => Promise<T>,
): Promise<void> {
  try {
    reply(null, await work())
  } catch (error) {
    reply({ code: status.UNKNOWN, details: (error as Error).message })
  }
}
