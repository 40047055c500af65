// A seccomp profile that a node's administrator wrote. Pure.
import { z } from 'zod'
import type { OciSeccomp } from './oci.ts'

const number = z.int().min(0)

/** As the OCI runtimes know it: what Docker's format has besides is dropped. */
const schema: z.ZodType<OciSeccomp> = z.object({
  defaultAction: z.string(),
  defaultErrnoRet: number.exactOptional(),
  architectures: z.array(z.string()).exactOptional(),
  flags: z.array(z.string()).exactOptional(),
  listenerPath: z.string().exactOptional(),
  listenerMetadata: z.string().exactOptional(),
  syscalls: z
    .array(
      z.object({
        names: z.array(z.string()).min(1),
        action: z.string(),
        errnoRet: number.exactOptional(),
        args: z
          .array(
            z.object({ index: number.max(5), value: z.number(), valueTwo: z.number().exactOptional(), op: z.string() }),
          )
          .nullish()
          .transform((args) => args ?? []),
      }),
    )
    .nullish()
    .transform((rules) => rules ?? []),
})

/** @throws Error naming every wrong field */
export function parseSeccompFile(text: string): OciSeccomp {
  const result = schema.safeParse(JSON.parse(text))
  if (result.success) return result.data
  const problems = result.error.issues.map(({ path, message }) => `${path.join('.') || 'the file'}: ${message}`)
  throw new Error(problems.join('; '))
}
