// Kubeconfig files: their shape, checked.

import { parse } from 'yaml'
import { z } from 'zod'
import { KubeconfigError } from './errors.ts'

/** A cluster of a kubeconfig, with the field names of the file. */
export interface KubeconfigCluster {
  server: string
  'certificate-authority'?: string | undefined
  'certificate-authority-data'?: string | undefined
  'insecure-skip-tls-verify': boolean
  'tls-server-name'?: string | undefined
  'proxy-url'?: string | undefined
  extensions: { name: string; extension?: unknown }[]
}

/** An exec plugin of a kubeconfig. */
export interface KubeconfigExec {
  apiVersion: 'client.authentication.k8s.io/v1' | 'client.authentication.k8s.io/v1beta1'
  command: string
  args: string[]
  env: { name: string; value: string }[]
  installHint?: string | undefined
  provideClusterInfo: boolean
  interactiveMode?: 'Never' | 'IfAvailable' | 'Always' | null | undefined
}

/** A user of a kubeconfig. */
export interface KubeconfigUser {
  'client-certificate'?: string | undefined
  'client-certificate-data'?: string | undefined
  'client-key'?: string | undefined
  'client-key-data'?: string | undefined
  token?: string | undefined
  tokenFile?: string | undefined
  username?: string | undefined
  password?: string | undefined
  as?: string | undefined
  exec?: KubeconfigExec | null | undefined
  'auth-provider'?: unknown
}

/** A checked kubeconfig. */
export interface Kubeconfig {
  'current-context'?: string | undefined
  clusters: { name: string; cluster: KubeconfigCluster }[]
  users: { name: string; user?: KubeconfigUser | null | undefined }[]
  contexts: { name: string; context: { cluster: string; user?: string | undefined; namespace?: string | undefined } }[]
}

// Fields that other tools add are let through; an empty text or null counts as absent, as in Go's parser.
const text = z
  .string()
  .nullish()
  .transform((value) => value || undefined)
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false)
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((items) => items ?? [])

const clusterSchema = z.object({
  server: z.url({ protocol: /^https?$/ }),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': flag,
  'tls-server-name': text,
  'proxy-url': text,
  extensions: list(z.object({ name: z.string(), extension: z.unknown().optional() })),
})
const execSchema = z.object({
  apiVersion: z.enum(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']),
  command: z.string().min(1),
  args: list(z.string()),
  env: list(z.object({ name: z.string(), value: z.string() })),
  installHint: text,
  provideClusterInfo: flag,
  interactiveMode: z.enum(['Never', 'IfAvailable', 'Always']).nullish(),
})
const userSchema = z.object({
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  token: text,
  tokenFile: text,
  username: text,
  password: text,
  as: text,
  exec: execSchema.nullish(),
  'auth-provider': z.unknown().optional(),
})
const schema: z.ZodType<Kubeconfig> = z.object({
  apiVersion: z.literal('v1').nullish(),
  kind: z.literal('Config').nullish(),
  'current-context': text,
  clusters: list(z.object({ name: z.string(), cluster: clusterSchema })),
  users: list(z.object({ name: z.string(), user: userSchema.nullish() })),
  contexts: list(
    z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: text, namespace: text }) }),
  ),
})

/**
 * Parses and checks a kubeconfig in YAML or JSON.
 * @param source what errors call it, for instance its path
 * @throws KubeconfigError
 */
export const parseKubeconfig = (content: string, source = 'kubeconfig'): Kubeconfig => {
  let data: unknown
  try {
    data = parse(content)
  } catch (cause) {
    throw new KubeconfigError(`${source}: not YAML: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    })
  }
  const checked = schema.safeParse(data)
  if (!checked.success) throw new KubeconfigError(`${source}: ${z.prettifyError(checked.error)}`)
  return checked.data
}
