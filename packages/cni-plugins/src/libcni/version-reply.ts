// What a program answers to VERSION. Pure. @see CNI spec 1.1, section 2, "VERSION"
import { z } from 'zod'
import { checked, parsedJson } from '../checked.ts'
import { CniError, cniCode } from '../errors.ts'
import { newestVersion } from './versions.ts'

/** Programs before 0.2.0 do not know the command; those of 0.2.0 do not list what they know. */
const beforeLists = ['0.1.0', '0.2.0']

/** Old programs look for variables that VERSION does not have. */
export const versionEnv: Record<string, string> = { CNI_NETNS: 'dummy', CNI_IFNAME: 'dummy', CNI_PATH: 'dummy' }
export const versionInput: object = { cniVersion: newestVersion }

const whose = 'the answer to VERSION'
const schema = z.object({ cniVersion: z.string(), supportedVersions: z.array(z.string()).optional() })

/** @throws CniError when it says nothing that can be understood */
export function parseVersionReply(out: string): readonly string[] {
  const { cniVersion, supportedVersions } = checked(whose, schema, parsedJson(whose, out), cniCode.decoding)
  if (supportedVersions) return supportedVersions
  if (cniVersion === '0.2.0') return beforeLists
  throw new CniError(cniCode.decoding, `${whose}: supportedVersions: missing`)
}

/** The versions of a program that answers so; undefined when that says nothing about them. */
export const versionsOfError = (message: string): readonly string[] | undefined =>
  message.includes('unknown CNI_COMMAND: VERSION') ? beforeLists.slice(0, 1) : undefined
