// The kinds of values in a KubeletConfiguration: each is checked and keeps the form it was written in.
import { z } from 'zod'
import { parseDuration } from '../duration.ts'
import { parseMilliQuantity } from '../quantity.ts'

const fits = (read: (text: string) => unknown): ((text: string) => boolean) => {
  return (text) => {
    try {
      read(text)
      return true
    } catch {
      // What is wrong with it is said by the field's own message.
      return false
    }
  }
}

const duration = z.string().refine(fits(parseDuration), 'is not a duration; write for instance 90s or 1m30s')

/** A duration that may be left out. */
export const someDuration: z.ZodOptional<z.ZodString> = duration.optional()

/** A duration; zero stands for the default, as in the Go kubelet. */
export const durationOr = (preset: string): z.ZodPipe<z.ZodDefault<z.ZodString>, z.ZodTransform<string, string>> =>
  duration.default(preset).transform((text) => (parseDuration(text) === 0 ? preset : text))

/** A duration in which zero means zero. */
export const plainDuration = (preset: string): z.ZodDefault<z.ZodString> => duration.default(preset)

export const quantity: z.ZodType<string> = z
  .string()
  .refine(fits(parseMilliQuantity), 'is not a quantity; write for instance 500m or 64Mi')

/** Resource name → quantity. */
export const quantities: z.ZodType<Record<string, string>> = z.record(z.string(), quantity)

const isPercentage = (text: string): boolean => /^\d+(\.\d+)?%$/.test(text) && Number.parseFloat(text) <= 100

/** The signals that thresholds may be set for. */
export type EvictionSignal =
  | 'memory.available'
  | 'nodefs.available'
  | 'nodefs.inodesFree'
  | 'imagefs.available'
  | 'imagefs.inodesFree'
  | 'pid.available'

/** Eviction signal → quantity or percentage. */
export const thresholds: z.ZodType<Partial<Record<EvictionSignal, string>>> = z.partialRecord(
  z.enum([
    'memory.available',
    'nodefs.available',
    'nodefs.inodesFree',
    'imagefs.available',
    'imagefs.inodesFree',
    'pid.available',
  ]),
  z
    .string()
    .refine(
      (text) => isPercentage(text) || fits(parseMilliQuantity)(text),
      'must be a quantity or a percentage from 0% to 100%',
    ),
)

export const whole = (least: number, most: number = Number.MAX_SAFE_INTEGER): z.ZodType<number> =>
  z.number().int().min(least).max(most)
export const port: z.ZodType<number> = whole(0, 65_535)
export const absolutePath: z.ZodType<string> = z.string().regex(/^\//, 'must be an absolute path')
export const texts: z.ZodType<string[]> = z.array(z.string())
/** Where a runtime listens. */
export const endpoint: z.ZodString = z.string().regex(/^(unix:\/\/)?\//, 'must be unix:///absolute/path')
