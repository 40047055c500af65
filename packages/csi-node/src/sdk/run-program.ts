// A driver as a program: until a signal ends it, or a kubelet refuses it.
import type { Driver, ServeDriverOptions } from './driver.ts'

/** Serves until SIGTERM or SIGINT. A kubelet's refusal is printed, and the exit code is 1. */
export async function runDriver(driver: Driver, options: ServeDriverOptions = {}): Promise<void> {
  const stopped = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => stopped.abort(new Error(`ended by ${signal}`))
  process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
  try {
    const serving = await driver.serve({ ...options, signal: stopped.signal })
    console.error(`${driver.name} serves ${serving.socketPath}`)
    await serving.ended
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
  }
}
