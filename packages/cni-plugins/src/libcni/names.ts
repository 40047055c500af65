/** Container ids and names of networks. @see CNI spec 1.1, "Parameters" */
export const namePattern: RegExp = /^[a-zA-Z0-9][\w.-]*$/
