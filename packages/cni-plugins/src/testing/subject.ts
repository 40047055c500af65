// What the suite works on.
import { strictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { parseResult } from '../libcni/parse-result.ts'
import { toVersion } from '../libcni/print-result.ts'
import { isBefore } from '../libcni/versions.ts'
import type { Executed } from '../sdk/execute.ts'
import type { CniResult, PluginConfig } from '../types.ts'
import type { PluginForm } from './forms.ts'

/** A plugin under test. */
export interface PluginUnderTest {
  run: PluginForm
  /** An object of a network list that works. */
  config: PluginConfig
  /** Those of the protocol that it must speak, and no other. */
  versions: readonly string[]
  /** The namespace that the plugin runs in. */
  hostNetns: string
  /** A new network namespace, with what other plugins made before; gone when it is disposed. */
  netns(): (Disposable & { path: string }) | Promise<Disposable & { path: string }>
  /** CNI_PATH: where the plugins are that it asks. */
  cniPath: string
  /** For a plugin that comes after others: what these gave for a pod. */
  prevResult?: CniResult
  /** One pod at a time can have what the configuration gives, for instance a device; default false. */
  isExclusive?: boolean
  /** All that the plugin keeps or makes outside the pod; after DEL it must be as before. */
  left?(): Promise<unknown>
}

/** A case of the suite: hand it to any test runner. */
export interface SuiteCase {
  name: string
  /** What is refused or told before anything is done, or what is done. */
  part: 'protocol' | 'verbs'
  run(): Promise<void>
}

export type Cases = Readonly<Record<string, (subject: PluginUnderTest) => Promise<void>>>

export const newestOf = ({ versions }: Pick<PluginUnderTest, 'versions'>): string => versions.at(-1) ?? ''

/** Whether the plugin speaks a version that has the verb. */
export const speaks = ({ versions }: PluginUnderTest, since: string): boolean =>
  versions.some((version) => !isBefore(version, since))

/** One pod's worth of variables and input. */
export interface Pod {
  env: Record<string, string>
  config(cniVersion: string, more?: object): string
}

export function podOf(subject: PluginUnderTest, netns: string): Pod {
  const { config, prevResult, cniPath } = subject
  return {
    env: { CNI_CONTAINERID: `suite-${randomUUID()}`, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: cniPath },
    config: (cniVersion, more = {}) =>
      JSON.stringify({
        ...config,
        name: 'suite',
        cniVersion,
        ...(prevResult && { prevResult: toVersion(prevResult, cniVersion) }),
        ...more,
      }),
  }
}

/** What a plugin prints when it fails. */
export interface PrintedError {
  cniVersion: string
  code: number
  msg: string
  details?: string | undefined
}

const errorSchema: z.ZodType<PrintedError> = z.object({
  cniVersion: z.string(),
  code: z.number().int().positive(),
  msg: z.string().min(1),
  details: z.string().optional(),
})

/** The call fails as the protocol says: one object on stdout, exit code 1. */
export function failed({ stdout, exitCode }: Executed, code: number): PrintedError {
  strictEqual(exitCode, 1, `it did not fail: ${stdout}`)
  const error = errorSchema.parse(JSON.parse(stdout))
  strictEqual(error.code, code, error.msg)
  return error
}

/** The call succeeds and prints nothing. */
export function silent({ stdout, exitCode }: Executed): void {
  strictEqual(stdout, '')
  strictEqual(exitCode, 0)
}

/** The result of ADD, which must be just what its version can hold. */
export function added({ stdout, stderr, exitCode }: Executed, cniVersion: string): CniResult {
  strictEqual(exitCode, 0, `ADD of ${cniVersion}: ${stdout}${stderr}`)
  const printed: unknown = JSON.parse(stdout)
  const result = parseResult('ADD', printed, '')
  strictEqual(result.cniVersion, cniVersion)
  strictEqual(sorted(printed), sorted(JSON.parse(JSON.stringify(toVersion(result, cniVersion)))))
  return result
}

const sorted = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([one], [two]) => (one < two ? -1 : 1)))
      : part,
  )
