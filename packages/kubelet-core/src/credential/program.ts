// Asking a credential provider: one run of a program, JSON in and JSON out.
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { startProgram } from '@nodelet/linux'
import { z } from 'zod'
import { parseDuration } from '../duration.ts'
import type { CredentialProvider } from './config.ts'

/** What the program says. @see credentialprovider.kubelet.k8s.io/v1 CredentialProviderResponse */
export interface ProviderAnswer {
  /** What else the answer is good for. */
  cacheKeyType: 'Image' | 'Registry' | 'Global'
  /** Milliseconds; undefined: as configured. */
  cacheMs?: number | undefined
  /** Pattern of images → credential. */
  auth: Record<string, { username: string; password: string }>
}

export interface ProviderRequest {
  image: string
  serviceAccountToken?: string | undefined
  serviceAccountAnnotations?: Readonly<Record<string, string>> | undefined
}

const timeoutMs = 60_000
const maxBytes = 1024 * 1024

const answer = z.looseObject({
  apiVersion: z.string(),
  kind: z.literal('CredentialProviderResponse'),
  cacheKeyType: z.enum(['Image', 'Registry', 'Global']),
  cacheDuration: z.string().nullish(),
  auth: z
    .record(z.string(), z.looseObject({ username: z.string().default(''), password: z.string().default('') }))
    .nullish(),
})

/** @throws Error naming the program and what it did wrong */
export async function askProvider(
  provider: CredentialProvider,
  binDir: string,
  request: ProviderRequest,
  signal: AbortSignal,
): Promise<ProviderAnswer> {
  const { name, args, env, apiVersion } = provider
  const path = join(binDir, name)
  const input = JSON.stringify({ apiVersion, kind: 'CredentialProviderRequest', ...request })
  const own = Object.fromEntries(env.map((one) => [one.name, one.value]))
  const output = await run(path, args, { ...process.env, ...own }, input, signal)
  const fail = (what: string): never => {
    throw new Error(`credential provider ${path}: ${what}`)
  }
  let message: unknown
  try {
    message = JSON.parse(output)
  } catch (error) {
    return fail(`its answer is not JSON: ${(error as Error).message}`)
  }
  const checked = answer.safeParse(message)
  if (!checked.success) {
    const [issue] = checked.error.issues
    return fail(`its answer has a wrong ${issue?.path.join('.') || 'form'}: ${issue?.message}`)
  }
  const { data } = checked
  if (data.apiVersion !== apiVersion) return fail(`it answers in ${data.apiVersion}, asked in ${apiVersion}`)
  const cacheMs = data.cacheDuration ? parseDuration(data.cacheDuration, `${path}: cacheDuration`) : undefined
  return { cacheKeyType: data.cacheKeyType, cacheMs, auth: data.auth ?? {} }
}

async function run(
  path: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input: string,
  signal: AbortSignal,
): Promise<string> {
  const late = AbortSignal.timeout(timeoutMs)
  const program = startProgram(path, args, {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: AbortSignal.any([signal, late]),
  })
  // One that ends without reading is judged by its answer.
  program.stdin?.once('error', () => undefined)
  program.stdin?.end(input)
  const outputs = Promise.all([collect(program.stdout, path), collect(program.stderr, path), program.ended])
  const [output, said, { code, signal: killedBy }] = await outputs.finally(() => program.kill('SIGKILL'))
  signal.throwIfAborted()
  if (late.aborted) throw new Error(`credential provider ${path}: it has not answered within ${timeoutMs / 1000} s`)
  if (code === 0) return output
  const why = code === null ? `it was killed by ${killedBy}` : `it ended with exit code ${code}`
  throw new Error(`credential provider ${path}: ${why}: ${said.trim().slice(0, 500)}`)
}

/** @throws Error when there is more than an answer can be */
async function collect(stream: Readable | undefined, path: string): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of stream ?? []) {
    bytes += (part as Buffer).byteLength
    if (bytes > maxBytes) throw new Error(`credential provider ${path}: its answer is longer than 1 MiB`)
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}
