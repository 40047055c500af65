// The kinds of values in a KubeProxyConfiguration: each keeps the form it was written in.
import { z } from 'zod'
import { durationMs } from './duration.ts'

/** May be left out; what was said is made into something else. */
type Completed<Kind extends z.ZodType, Value> = z.ZodPipe<z.ZodDefault<Kind>, z.ZodTransform<Value, z.infer<Kind>>>

const duration = z
  .string()
  .refine((text) => durationMs(text) !== undefined, 'is not a duration; write for instance 90s or 1m30s')

/** A duration in which zero means zero. */
export const plainDuration = (preset: string): z.ZodDefault<z.ZodString> => duration.default(preset)

/** A duration; zero stands for the default. */
export const durationOr = (preset: string): Completed<z.ZodString, string> =>
  duration.default(preset).transform((text) => (durationMs(text) === 0 ? preset : text))

/** A text; the empty one stands for the default. */
export const textOr = (preset: string): Completed<z.ZodString, string> =>
  z
    .string()
    .default('')
    .transform((text) => text || preset)

/** A duration, or nanoseconds as a number; zero stands for the default. */
export const durationOrNanoseconds = (
  preset: string,
): Completed<z.ZodUnion<readonly [z.ZodInt, z.ZodString]>, string | number> =>
  z
    .union([z.int(), duration])
    .default(preset)
    .transform((value) => (value === 0 || durationMs(String(value)) === 0 ? preset : value))

const quantityPattern = /^[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/

/** A quantity, for instance `64Ki`; a number is one too. */
export const quantity = (preset: string): Completed<z.ZodUnion<readonly [z.ZodString, z.ZodNumber]>, string> =>
  z
    .union([z.string(), z.number()])
    .refine((value) => quantityPattern.test(String(value)), 'is not a quantity; write for instance 500 or 64Ki')
    .default(preset)
    .transform(String)

/** A whole number of 32 bits. */
export const int32: z.ZodNumber = z
  .number()
  .int()
  .min(-(2 ** 31))
  .max(2 ** 31 - 1)

/** A number; zero stands for the default. */
export const numberOr = (preset: number, kind: z.ZodNumber = z.number()): Completed<z.ZodNumber, number> =>
  kind.default(preset).transform((value) => value || preset)

export const flag = (preset: boolean): z.ZodDefault<z.ZodBoolean> => z.boolean().default(preset)
export const text: z.ZodDefault<z.ZodString> = z.string().default('')
export const texts: z.ZodDefault<z.ZodArray<z.ZodString>> = z.array(z.string()).default([])
