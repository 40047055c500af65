/** Container ids and names of networks. @see CNI spec 1.1, "Parameters" */
export const namePattern: RegExp = /^[a-zA-Z0-9][\w.-]*$/

/** Types of plugins are names of files. @see CNI spec 1.1, "Plugin configuration objects" */
export const pluginName: RegExp = /^[^/\s\0]+$/

/** The kernel's limit, in bytes. */
const longestLinkName = 15

/** Whether the kernel takes it for a link. */
export const isLinkName = (text: string): boolean =>
  /^(?!\.{1,2}$)[^/:\s\0]+$/.test(text) && Buffer.byteLength(text) <= longestLinkName
