// Calls of the demo's Service: from this host and from inside a pod.
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RuntimeService } from '@nodelet/cri-api'
import { CommandError } from '../errors.ts'

/** How long one call may take, in milliseconds. */
const patienceMs = 300
/** Rules follow readiness at a bounded rate: the first call is tried again for this long, in milliseconds. */
const graceMs = 10_000
const retryMs = 50

/** GETs a page over a connection of its own, so that each call is balanced anew. */
export async function callFromHost(url: string, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  request(url, { agent: false, signal: limit }, (response) => {
    text(response).then((body) => {
      if (response.statusCode === 200) resolve(body.trim())
      else reject(new Error(`${url} answered ${response.statusCode}`))
    }, reject)
  })
    .on('error', reject)
    .end()
  return promise
}

/** Runs the image's own wget in a container. */
export async function callFromPod(
  runtime: RuntimeService,
  containerId: string,
  url: string,
  signal: AbortSignal,
): Promise<string> {
  const cmd = ['/bin/wget', '-q', '-O', '-', url]
  const { exitCode, stdout, stderr } = await runtime.execSync({ containerId, cmd, timeout: 5n }, { signal })
  if (exitCode !== 0)
    throw new Error(`wget ${url} in the pod ended with ${exitCode}: ${Buffer.from(stderr).toString().trim()}`)
  return Buffer.from(stdout).toString().trim()
}

/** Calls `count` times and answers who answered how often; the first call waits until the rules are there. */
export async function callMany(
  count: number,
  call: () => Promise<string>,
  signal: AbortSignal,
): Promise<Map<string, number>> {
  const answers = new Map<string, number>()
  const since = performance.now()
  for (let done = 0; done < count;) {
    try {
      const who = await call()
      answers.set(who, (answers.get(who) ?? 0) + 1)
      done += 1
    } catch (error) {
      signal.throwIfAborted()
      if ((error as NodeJS.ErrnoException).code === 'ENETUNREACH') {
        throw new CommandError(
          `this machine has no way to the Service: ${(error as Error).message}`,
          'addresses of Services are reached by the default route: give it one (ip route add default …)',
          { cause: error },
        )
      }
      if (done > 0 || performance.now() - since > graceMs) {
        throw new CommandError(
          `the Service does not answer: ${(error as Error).message}`,
          'look at the rules with iptables-save -t nat, and at the log of the agent',
          { cause: error },
        )
      }
      await sleep(retryMs, undefined, { signal })
    }
  }
  return answers
}
