// Exec plugins: programs that print a credential (client.authentication.k8s.io).

import { execFile } from 'node:child_process'
import { z } from 'zod'
import { KubeconfigError } from './errors.ts'
import type { ExecPlugin } from './connection.ts'

const credentialSchema = z.object({
  apiVersion: z.string(),
  kind: z.literal('ExecCredential'),
  status: z
    .object({
      expirationTimestamp: z.iso.datetime({ offset: true }).nullish(),
      token: z.string().nullish(),
      clientCertificateData: z.string().nullish(),
      clientKeyData: z.string().nullish(),
    })
    .refine((status) => status.token || status.clientCertificateData, 'has neither token nor clientCertificateData')
    .refine(
      (status) => !status.clientCertificateData === !status.clientKeyData,
      'needs clientCertificateData and clientKeyData together',
    ),
})

/** What a plugin answered. */
export interface ExecCredential {
  readonly token?: string
  readonly clientCertificate?: string
  readonly clientKey?: string
  /** Milliseconds since the epoch; absent: until the server refuses it. */
  readonly expires?: number
}

/** The environment variable KUBERNETES_EXEC_INFO that a plugin is given. */
export const execInfo = (plugin: ExecPlugin): string =>
  JSON.stringify({
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: { interactive: false, ...(plugin.cluster && { cluster: plugin.cluster }) },
  })

/**
 * Reads what a plugin printed.
 * @throws KubeconfigError
 */
export const parseExecCredential = (plugin: ExecPlugin, output: string): ExecCredential => {
  const fail = (what: string): never => {
    throw new KubeconfigError(`exec plugin ${plugin.command}: ${what}`)
  }
  let data: unknown
  try {
    data = JSON.parse(output)
  } catch {
    // The output may hold a secret, so the message does not quote it.
    return fail('its standard output is not JSON')
  }
  const checked = credentialSchema.safeParse(data)
  if (!checked.success) return fail(`its ExecCredential is not valid: ${z.prettifyError(checked.error)}`)
  const { apiVersion, status } = checked.data
  if (apiVersion !== plugin.apiVersion) fail(`answers ${apiVersion}, the kubeconfig says ${plugin.apiVersion}`)
  return {
    ...(status.token && { token: status.token }),
    ...(status.clientCertificateData && { clientCertificate: status.clientCertificateData }),
    ...(status.clientKeyData && { clientKey: status.clientKeyData }),
    ...(status.expirationTimestamp && { expires: Date.parse(status.expirationTimestamp) }),
  }
}

/**
 * Runs a plugin once, without a terminal, for at most a minute.
 * @throws KubeconfigError when it is missing, fails, or prints no credential
 */
export const runExecPlugin = async (plugin: ExecPlugin, signal?: AbortSignal): Promise<ExecCredential> => {
  const env = { ...process.env, ...plugin.env, KUBERNETES_EXEC_INFO: execInfo(plugin) }
  const output = await new Promise<string>((done, fail) => {
    const options = { env, timeout: 60_000, maxBuffer: 1 << 20, ...(signal && { signal }) }
    const child = execFile(plugin.command, [...plugin.args], options, (error, stdout, stderr) => {
      if (!error) return done(stdout)
      if (signal?.aborted) return fail(signal.reason as Error)
      const hint = error.code === 'ENOENT' && plugin.installHint ? `\n${plugin.installHint}` : ''
      const said = stderr.trim().slice(-1024)
      fail(new KubeconfigError(`exec plugin ${plugin.command}: ${said || error.message}${hint}`, { cause: error }))
    })
    child.stdin?.end()
  })
  return parseExecCredential(plugin, output)
}
