// What `nodelet image` asks of a running agent, over its control socket: requests and lines of JSON.
import type { Inquiry } from '@nodelet/proxy-rules'
import { z } from 'zod'

export type ImageRequest =
  | { command: 'pull'; reference: string }
  | { command: 'import'; path: string; reference?: string | undefined }
  | { command: 'export'; references: string[]; path: string; format?: 'oci' | 'docker' | undefined }
  | { command: 'inspect'; reference: string }
  | { command: 'list' }
  | { command: 'remove'; references: string[] }
  | { command: 'prune'; isDryRun?: boolean | undefined }

export const imageRequest: z.ZodType<ImageRequest> = z.discriminatedUnion('command', [
  z.strictObject({ command: z.literal('pull'), reference: z.string().min(1) }),
  z.strictObject({ command: z.literal('import'), path: z.string().regex(/^\//), reference: z.string().optional() }),
  z.strictObject({
    command: z.literal('export'),
    references: z.array(z.string().min(1)).min(1),
    path: z.string().regex(/^\//),
    format: z.enum(['oci', 'docker']).optional(),
  }),
  z.strictObject({ command: z.literal('inspect'), reference: z.string().min(1) }),
  z.strictObject({ command: z.literal('list') }),
  z.strictObject({ command: z.literal('remove'), references: z.array(z.string().min(1)).min(1) }),
  z.strictObject({ command: z.literal('prune'), isDryRun: z.boolean().optional() }),
])

/** What `nodelet trace` asks; the proxy checks the texts. */
export const traceRequest: z.ZodType<Inquiry> = z.strictObject({
  to: z.string(),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).optional(),
  from: z.string().optional(),
  inputInterface: z.string().optional(),
})

/** An image as the command line shows it. */
export interface ImageLine {
  id: string
  tags: string[]
  digests: string[]
  /** Bytes. */
  size: number
}

/** One line of an answer; `error` is the last when it comes. */
export type Answer =
  | { progress: { digest: string; done: number; total: number } }
  | { image: ImageLine }
  | { removed: string }
  | { pruned: ImageLine }
  | { exported: string }
  | { details: object }
  | { error: string }

/** What a running agent says of itself. */
export interface AgentStatus {
  pid: number
  version: string
  startedAt: string
  nodeName: string
  root: string
  kubeconfig?: string
  api?: string
}
